import { type Claims, encodeClaims, nameOf } from "./claims.js"
import { type PrivateKey, signingKey } from "./key.js"
import { bytesOf } from "./text.js"

export interface SignOptions {
  /** The name of the key, if the server's public keys have names. */
  kid?: string | undefined
  /** The issuer of the token, for a server with --jwt-issuer. */
  iss?: string | undefined
  /** The audience of the token, for a server with --jwt-audience. */
  aud?: string | undefined
}

/** The length of a token. */
const LONGEST = 8192

/**
 * Returns a token, a JWT signed with a private key. For claims that no server accepts, and for
 * a key that cannot sign, it rejects with a TypeError or RangeError that says what would be right.
 */
export const sign = async (claims: Claims, key: PrivateKey, { kid, iss, aud }: SignOptions = {}): Promise<string> => {
  const payload = JSON.stringify({ iss: nameOf("options.iss", iss), aud: nameOf("options.aud", aud), ...encodeClaims(claims) })
  const { alg, webCrypto, key: cryptoKey } = await signingKey(key)
  const signed = [JSON.stringify({ alg, typ: "JWT", kid }), payload].map((part) => base64url(bytesOf(part))).join(".")
  const signature = await crypto.subtle.sign(webCrypto, cryptoKey, bytesOf(signed))
  const token = signed + "." + base64url(new Uint8Array(signature))
  if (token.length > LONGEST) throw new RangeError(`the token has ${token.length} bytes; use fewer topics, so that it has at most ${LONGEST}`)
  return token
}

const base64url = (bytes: Uint8Array): string => {
  let text = ""
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")
}

import { readElements, Tag, writeElement } from "./der.js"

/** A CryptoKey, whose name not every runtime's types declare. */
export type SigningKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>

/** A private key: the contents of a PEM file, or what importKey returned. */
export type PrivateKey = string | Uint8Array | SigningKey

/** @internal How a kind of keys signs. */
export interface Algorithm {
  /** Its name in tokens. */
  alg: "ES256" | "EdDSA" | "RS256"
  webCrypto: { name: string; hash?: string; namedCurve?: string }
  /** The object identifiers of the kind, and of the curve. */
  object: [kind: string, curve?: string]
}

const EC_PUBLIC_KEY = "2a8648ce3d0201"
const ALGORITHMS: Algorithm[] = [
  { alg: "ES256", webCrypto: { name: "ECDSA", hash: "SHA-256", namedCurve: "P-256" }, object: [EC_PUBLIC_KEY, "2a8648ce3d030107"] },
  { alg: "EdDSA", webCrypto: { name: "Ed25519" }, object: ["2b6570"] },
  { alg: "RS256", webCrypto: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, object: ["2a864886f70d010101"] },
]

const MAKE_ONE = "make one with openssl ecparam -name prime256v1 -genkey -noout"
const KIND_MISTAKE = `is not for P-256, Ed25519 or RSA of 2,048 bits or more; ${MAKE_ONE}`

/**
 * Imports a private key for sign and publish, which need not do it each time then. It takes
 * PEM of the types EC PRIVATE KEY (SEC 1) and PRIVATE KEY (PKCS #8): keys for P-256, Ed25519
 * where the runtime has that, and RSA of 2,048 bits or more.
 */
export const importKey = async (pem: string | Uint8Array): Promise<SigningKey> => {
  const { algorithm, pkcs8 } = readKey(pem)
  const { alg, webCrypto } = algorithm
  let key: SigningKey
  try {
    key = await crypto.subtle.importKey("pkcs8", pkcs8, webCrypto, false, ["sign"])
  } catch (cause) {
    if ((cause as Error).name === "NotSupportedError") throw new TypeError(`this runtime cannot sign with a key for ${alg}; ${MAKE_ONE}`, { cause })
    throw unreadable(cause)
  }
  algorithmOf(key)
  return key
}

/** @internal Returns a key that signs, and how. */
export const signingKey = async (key: PrivateKey): Promise<{ key: SigningKey } & Algorithm> => {
  if (typeof key === "string" || key instanceof Uint8Array) key = await importKey(key)
  return { key, ...algorithmOf(key) }
}

/** Returns how a key signs. For a key that no server accepts, it throws an error. */
const algorithmOf = (key: SigningKey): Algorithm => {
  const algorithm: any = key?.algorithm
  if (!algorithm) throw new TypeError("the key is neither PEM nor a CryptoKey; use the contents of a PEM file")
  const found = ALGORITHMS.find(
    ({ webCrypto: { name, namedCurve, hash } }) =>
      name === algorithm.name && namedCurve === algorithm.namedCurve && (namedCurve || hash === algorithm.hash?.name),
  )
  if (!found || algorithm.modulusLength < 2048) throw new TypeError(`the key ${KIND_MISTAKE}`)
  if (!key.usages.includes("sign")) throw new TypeError('the key cannot sign; use a private key with the usage "sign"')
  return found
}

/** Reads PEM. It returns how the key signs, and the key in the one form that WebCrypto imports. */
const readKey = (pem: string | Uint8Array): { algorithm: Algorithm; pkcs8: Uint8Array<ArrayBuffer> } => {
  const [type, der] = readPEM(typeof pem === "string" ? pem : new TextDecoder().decode(pem))
  let pkcs8
  let algorithm
  try {
    pkcs8 = type === "EC PRIVATE KEY" ? wrapEC(der) : der
    algorithm = kindOf(pkcs8)
  } catch (cause) {
    throw unreadable(cause)
  }
  if (!algorithm) throw new TypeError(`the key ${KIND_MISTAKE}`)
  return { algorithm, pkcs8 }
}

/** Returns the type and the contents of the only key in a PEM file. */
const readPEM = (pem: string): [type: string, der: Uint8Array<ArrayBuffer>] => {
  // In environment variables, lines often end with the characters \n.
  const blocks = [...pem.replaceAll("\\n", "\n").matchAll(/-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----/gs)].filter(
    ([, type]) => type !== "EC PARAMETERS", // openssl ecparam writes them before the key.
  )
  const [, type, text] = blocks[0] ?? []
  if (!type || !text)
    throw new TypeError("the key is not PEM; use the contents of a file that begins with -----BEGIN EC PRIVATE KEY----- or -----BEGIN PRIVATE KEY-----")
  if (blocks[1]) throw new TypeError(`the PEM has ${blocks.length} keys; use one private key`)
  if (type === "ENCRYPTED PRIVATE KEY" || /^Proc-Type:.*ENCRYPTED/m.test(text))
    throw new TypeError("the private key is encrypted; decrypt it with openssl pkcs8 -topk8 -nocrypt -in key.pem")
  if (type === "PUBLIC KEY") throw new TypeError("the key is a public key; use the matching private key")
  if (type === "RSA PRIVATE KEY") throw new TypeError("the key is of the type RSA PRIVATE KEY; convert it with openssl pkcs8 -topk8 -nocrypt -in key.pem")
  if (type !== "EC PRIVATE KEY" && type !== "PRIVATE KEY")
    throw new TypeError(`the key is of the type ${type}; use one of the type EC PRIVATE KEY or PRIVATE KEY`)
  try {
    return [type, Uint8Array.from(atob(text.replace(/\s/g, "")), (c) => c.charCodeAt(0))]
  } catch (cause) {
    throw unreadable(cause)
  }
}

const unreadable = (cause: unknown) => new TypeError(`the PEM holds no readable private key; ${MAKE_ONE}`, { cause })

/** Returns how a PKCS #8 key (RFC 5958) signs; undefined: it is of another kind. */
const kindOf = (pkcs8: Uint8Array): Algorithm | undefined => {
  const [outer] = readElements(pkcs8)
  const [, algorithm] = readElements(outer![1])
  const [kind, curve] = readElements(algorithm![1]).map(([, contents]) => hex(contents))
  return ALGORITHMS.find(({ object }) => object[0] === kind && (object[1] ?? curve) === curve)
}

/** Puts a SEC 1 key (RFC 5915) into PKCS #8. */
const wrapEC = (sec1: Uint8Array): Uint8Array<ArrayBuffer> => {
  const [outer] = readElements(sec1)
  const [version, secret, ...optional] = readElements(outer![1])
  const [curve, publicKey] = [0xa0, 0xa1].map((wanted) => optional.find(([tag]) => tag === wanted))
  // The curve moves to the front, since not every runtime accepts it twice.
  const key = [version!, secret!, ...(publicKey ? [publicKey] : [])].map((element) => writeElement(...element))
  return writeElement(
    Tag.Sequence,
    writeElement(Tag.Integer, [0]),
    writeElement(Tag.Sequence, writeElement(Tag.ObjectIdentifier, unhex(EC_PUBLIC_KEY)), curve?.[1] ?? []),
    writeElement(Tag.OctetString, writeElement(Tag.Sequence, ...key)),
  )
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const unhex = (text: string): number[] => text.match(/../g)!.map((byte) => parseInt(byte, 16))

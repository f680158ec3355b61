import assert from "node:assert/strict"
import { Buffer } from "node:buffer"
import { webcrypto } from "node:crypto"
import { test } from "node:test"
import { createContext, runInContext } from "node:vm"

import { build } from "esbuild"
import { type Claims, importKey, publish, sign } from "notiflux/server"

import { history, openssl, publicKeyOf, startDev, startServer } from "./back-end.js"

const sec1 = openssl("ecparam -name prime256v1 -genkey -noout")
const ed25519 = openssl("genpkey -algorithm ed25519")
const rsa = openssl("genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:2048")

/** Returns the header or the claims of a token. */
const part = (token: string, at: number) => JSON.parse(Buffer.from(token.split(".")[at]!, "base64url").toString())

test("the server accepts tokens signed with every kind of key", async (t) => {
  const keys: Record<string, [pem: string, alg: string]> = {
    "SEC 1": [sec1, "ES256"],
    "SEC 1 with the parameters before it": [openssl("ecparam -name prime256v1 -genkey"), "ES256"],
    "SEC 1 without the public key": [openssl("ec -no_public", openssl("ecparam -name prime256v1 -genkey -noout")), "ES256"],
    "PKCS #8 for P-256": [openssl("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256"), "ES256"],
    "SEC 1 as PKCS #8": [openssl("pkcs8 -topk8 -nocrypt", openssl("ecparam -name prime256v1 -genkey -noout")), "ES256"],
    Ed25519: [ed25519, "EdDSA"],
    "RSA of 2,048 bits": [rsa, "RS256"],
    "RSA of 4,096 bits": [openssl("genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:4096"), "RS256"],
  }
  const pems = Object.values(keys).map(([pem]) => pem)
  const url = await startServer(t, pems.map(publicKeyOf).join(""))
  for (const [name, [pem, alg]] of Object.entries(keys)) {
    await t.test(name, async () => {
      const forms = {
        text: pem,
        bytes: new TextEncoder().encode(pem),
        "lines that end with \\r\\n": pem.replaceAll("\n", "\r\n"),
        "an environment variable with \\n in it": pem.replaceAll("\n", "\\n"),
        "with text around it": `Key attributes\n${pem}\nMore text\n`,
        CryptoKey: await importKey(pem),
      }
      for (const [form, key] of Object.entries(forms)) {
        const token = await sign({ sub: "ann", topic: "news" }, key)
        assert.deepEqual(part(token, 0), { alg, typ: "JWT" }, form)
        assert.equal((await history(url, "news", token)).status, 200, form)
      }
    })
  }
  const other = await sign({ sub: "ann", topic: "news" }, openssl("ecparam -name prime256v1 -genkey -noout"))
  assert.equal((await history(url, "news", other)).body.code, "token_invalid")
})

test("the server accepts the claims at their limits", async (t) => {
  const { url, privateKey } = await startDev(t)
  const key = await importKey(privateKey)
  const accepted: Claims[] = [
    { sub: "", topic: "a" },
    { sub: "é".repeat(127) + "x", topic: "é".repeat(127) + "x" },
    { sub: "😀 \0", topic: "😀 /*.$" },
    { sub: "u", topics: Array.from({ length: 1000 }, (_, i) => i.toString(36)) },
    { sub: "u", topic: "a", info: { text: "x".repeat(1013) } },
    { sub: "u", topic: "a", info: { "😀": "\\ud83d", __proto__: { inherited: 1 } } },
    { sub: "u", topic: "a", scope: ["broadcast", "subscribe"], expiresIn: 0.5, until: new Date(Date.now() + 60_000) },
  ]
  for (const claims of accepted) {
    const token = await sign(claims, key)
    const { status, body } = await history(url, claims.topic ?? claims.topics![999]!, token)
    assert.equal(status, 200, JSON.stringify(body))
  }
})

test("a token has the claims", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_000_000_500 })
  const key = await importKey(sec1)
  const claims = async (claims: Claims) => part(await sign(claims, key), 1)
  assert.deepEqual(await claims({ sub: "u", topic: "a" }), { sub: "u", scope: "subscribe", topic: "a", iat: 1_000_000, exp: 1_003_600 })
  assert.deepEqual(await claims({ sub: "u", topics: ["a"], expiresIn: 10, scope: "broadcast" }), { sub: "u", scope: "broadcast", topic: "a", iat: 1_000_000, exp: 1_000_010 })
  assert.deepEqual(
    await claims({ sub: "u", topic: "a", topics: ["b", "a", "c", "b"], scope: ["broadcast", "subscribe", "broadcast"] }),
    { sub: "u", scope: "broadcast subscribe", topics: ["a", "b", "c"], iat: 1_000_000, exp: 1_003_600 },
  )
  assert.deepEqual(await claims({ sub: "u", topic: "a", until: new Date(1_000_001_250), info: { name: "Ann", gone: undefined }, jti: "7f3a" }), {
    sub: "u",
    scope: "subscribe",
    topic: "a",
    iat: 1_000_000, exp: 1_003_600,
    until: 1_000_001.25,
    info: { name: "Ann" },
    jti: "7f3a",
  })
  assert.deepEqual(await claims({ sub: "u", patterns: ["*"], scope: "broadcast" }), { sub: "u", scope: "broadcast", patterns: ["*"], iat: 1_000_000, exp: 1_003_600 })
  assert.deepEqual(await claims({ sub: "u", subscribe: { patterns: ["a*", "a*"] }, broadcast: { topics: ["ab"], patterns: [] } }), {
    sub: "u",
    subscribe: { patterns: ["a*"] },
    broadcast: { topics: ["ab"] },
    iat: 1_000_000, exp: 1_003_600,
  })
  assert.deepEqual(part(await sign({ sub: "u", topic: "a" }, key, { kid: "2026" }), 0), { alg: "ES256", typ: "JWT", kid: "2026" })
})

test("the server honours scope, until and kid", async (t) => {
  const jwk: any = await webcrypto.subtle.exportKey("jwk", await webcrypto.subtle.importKey(
    "spki", Buffer.from(publicKeyOf(sec1).replace(/-----.*-----/g, ""), "base64"), { name: "ECDSA", namedCurve: "P-256" }, true, ["verify"])) // prettier-ignore
  const { kty, crv, x, y } = jwk
  const url = await startServer(t, JSON.stringify({ keys: [{ kty, crv, x, y, kid: "2026" }] }))
  const code = async (claims: Partial<Claims>, kid = "2026") => (await history(url, "a", await sign({ sub: "u", topic: "a", ...claims } as Claims, sec1, { kid }))).body.code
  assert.equal(await code({}), undefined)
  assert.equal(await code({}, "2025"), "token_invalid")
  assert.equal(await code({ scope: "broadcast" }), "scope_denied")
  assert.equal(await code({ topic: "b" }), "topic_denied")
  assert.equal(await code({ topic: "b", patterns: ["a*"] }), undefined)
  assert.equal(await code({ topic: "b", subscribe: { topics: ["a"] } }), undefined)
  assert.equal(await code({ topic: "b", broadcast: { patterns: ["*"] } }), "topic_denied")
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() - 120_000 })
  assert.equal(await code({ until: new Date(Date.now() + 60_000) }), "token_expired")
  assert.equal(await code({ expiresIn: 30 }), "token_expired")
})

test("the server honours iss and aud", async (t) => {
  const url = await startServer(t, publicKeyOf(sec1), "--jwt-issuer=https://shop.example", "--jwt-audience=notiflux")
  const iss = "https://shop.example", aud = "notiflux" // prettier-ignore
  for (const [options, code] of [[{ iss, aud }, undefined], [{ iss }, "token_invalid"], [{ aud }, "token_invalid"], [{ iss: aud, aud: iss }, "token_invalid"]] as const) {
    const { body } = await history(url, "a", await sign({ sub: "u", topic: "a" }, sec1, options))
    assert.equal(body.code, code, JSON.stringify(options))
  }
  await publish(url, { topic: "a", message: 1 }, { privateKey: sec1, iss, aud })
  for (const [options, message] of [[{ iss: "" }, /^options.iss is empty/], [{ iss: null }, /^options.iss is null/], [{ aud: [aud] }, /^options.aud is a list/]] as const)
    await assert.rejects(sign({ sub: "u", topic: "a" }, sec1, options as any), { name: "TypeError", message })
})

test("the server accepts expiresIn up to --max-token-life", async (t) => {
  const url = await startServer(t, publicKeyOf(sec1), "--max-token-life=1h")
  for (const [expiresIn, code] of [[undefined, undefined], [0.5, undefined], [3600, undefined], [3600.5, "token_invalid"]] as const) {
    const { body } = await history(url, "a", await sign({ sub: "u", topic: "a", expiresIn }, sec1))
    assert.equal(body.code, code, String(expiresIn))
  }
})

const rejects = (claims: unknown, key: unknown, message: RegExp | string, type: ErrorConstructor = TypeError) =>
  assert.rejects(sign(claims as Claims, key as string), (error: Error) => {
    assert.ok(error instanceof type, `${error.name} is not a ${type.name}`)
    if (typeof message === "string") assert.equal(error.message, message)
    else assert.match(error.message, message)
    return true
  })

test("wrong claims are refused with what would be right", async () => {
  const cyclic: any = {}
  cyclic.self = cyclic
  const good = { sub: "u", topic: "a" }
  const wrong: [claims: unknown, message: RegExp | string, type?: ErrorConstructor][] = [
    [undefined, "claims is undefined; use an object with sub and topic"],
    [null, /^claims is null/],
    [["a"], /^claims is a list/],
    ["ann", /^claims is "ann"/],
    [{ ...good, exp: 1 }, "claims.exp is unknown; the claims are sub, topic, topics, patterns, subscribe, broadcast, scope, expiresIn, until, info, jti"],
    [{ ...good, jti: "" }, "claims.jti is empty; use a name of 1 to 255 bytes"],
    [{ ...good, jti: 7 }, "claims.jti is 7; use a string"],
    [{ topic: "a" }, "claims.sub is undefined; use a string"],
    [{ ...good, sub: 42 }, "claims.sub is 42; use a string"],
    [{ ...good, sub: "x".repeat(256) }, "claims.sub has 256 bytes; use at most 255"],
    [{ ...good, sub: "é".repeat(128) }, "claims.sub has 256 bytes; use at most 255"],
    [{ ...good, sub: "a\ud83d" }, /^claims.sub is ".*", which has half a character; use whole characters$/],
    [{ sub: "u" }, "claims has no topic; use claims.topic with a string, or claims.topics with a list"],
    [{ sub: "u", topics: [] }, /^claims has no topic/],
    [{ sub: "u", topics: "a" }, 'claims.topics is "a"; use a list of strings'],
    [{ sub: "u", topic: "" }, "claims.topic is empty; use a name of 1 to 255 bytes"],
    [{ sub: "u", topic: ["a"] }, "claims.topic is a list; use a string"],
    [{ sub: "u", topic: null }, "claims.topic is null; use a string"],
    [{ sub: "u", topics: ["a", "b\n"] }, 'claims.topics[1] is "b\\n", which has a control character; use a name without one'],
    [{ sub: "u", topics: ["a", "b\x9f"] }, /^claims.topics\[1\] .* control character/],
    [{ sub: "u", topics: ["a", 7] }, "claims.topics[1] is 7; use a string"],
    [{ sub: "u", topics: ["x".repeat(256)] }, "claims.topics[0] has 256 bytes; use at most 255"],
    [{ sub: "u", topics: ["\udc00"] }, /^claims.topics\[0\] .* half a character/],
    [{ sub: "u", topics: Array.from({ length: 1001 }, (_, i) => "" + i) }, "claims.topics has 1001 topics; use at most 1000", RangeError],
    [{ sub: "u", topics: Array.from({ length: 300 }, (_, i) => `${i}`.padEnd(30)) }, /^the token has \d+ bytes; use fewer topics, so that it has at most 8192$/, RangeError],
    [{ sub: "u", patterns: ["a"] }, 'claims.patterns[0] is "a"; use the beginning of a topic followed by *'],
    [{ sub: "u", patterns: ["a*", "b\n*"] }, /^claims.patterns\[1\] .* control character/],
    [{ sub: "u", patterns: [7] }, /^claims.patterns\[0\] is 7/],
    [{ sub: "u", patterns: "a*" }, 'claims.patterns is "a*"; use a list of strings'],
    [{ sub: "u", patterns: Array.from({ length: 101 }, (_, i) => i + "*") }, "claims.patterns has 101 patterns; use at most 100", RangeError],
    [{ sub: "u", patterns: ["*"] }, /^claims.patterns has "\*", which nobody may subscribe to/],
    [{ sub: "u", subscribe: { patterns: ["*"] } }, /^claims.patterns has "\*"/],
    [{ sub: "u", broadcast: {} }, /^claims has no topic/],
    [{ sub: "u", broadcast: ["a"] }, "claims.broadcast is a list; use an object with topics, patterns, or both"],
    [{ sub: "u", broadcast: { topic: "a" } }, "claims.broadcast.topic is unknown; use topics and patterns"],
    [{ sub: "u", subscribe: { topics: [""] } }, /^claims.subscribe.topics\[0\] is empty/],
    [{ ...good, scope: "publish" }, 'claims.scope is "publish"; use "subscribe", "broadcast" or a list of both'],
    [{ ...good, scope: "subscribe broadcast" }, /^claims.scope is "subscribe broadcast"; use/],
    [{ ...good, scope: ["subscribe", null] }, /^claims.scope is null; use/],
    [{ ...good, scope: [] }, /^claims.scope is empty; use/],
    [{ ...good, expiresIn: 0 }, /^claims.expiresIn is 0; use a number of seconds from now, above 0 and up to ten years, such as 3600$/, RangeError],
    [{ ...good, expiresIn: -1 }, /^claims.expiresIn is -1/, RangeError],
    [{ ...good, expiresIn: NaN }, /^claims.expiresIn is NaN/, RangeError],
    [{ ...good, expiresIn: "1h" }, /^claims.expiresIn is "1h"/, RangeError],
    [{ ...good, expiresIn: Date.now() }, /^claims.expiresIn is \d+;/, RangeError],
    [{ ...good, expiresIn: Math.floor(Date.now() / 1000) }, /^claims.expiresIn is \d+;/, RangeError],
    [{ ...good, until: 600 }, "claims.until is 600; use a Date, such as new Date(Date.now() + 600_000)"],
    [{ ...good, until: new Date(NaN) }, /^claims.until is Invalid Date; use a Date/],
    [{ ...good, until: new Date(0) }, "claims.until is 1970-01-01T00:00:00.000Z, which is over; use a time in the future", RangeError],
    [{ ...good, info: null }, 'claims.info is null; use an object like {name: "Ann"}'],
    [{ ...good, info: "Ann" }, /^claims.info is "Ann"; use an object/],
    [{ ...good, info: [1] }, /^claims.info is a list; use an object/],
    [{ ...good, info: () => 1 }, /^claims.info is a function; use an object/],
    [{ ...good, info: new Date(0) }, /^claims.info is .*1970.*; use an object/],
    [{ ...good, info: { list: ["a\ud83d"] } }, 'claims.info has "a\\ud83d", which has half a character; use whole characters'],
    [{ ...good, info: { "\udc00": 1 } }, /^claims.info has .* half a character/],
    [{ ...good, info: cyclic }, "claims.info is not JSON; use an object that JSON.stringify can encode"],
    [{ ...good, info: { n: 1n } }, /^claims.info is not JSON/],
    [{ ...good, info: { text: "x".repeat(1014) } }, "claims.info has 1025 bytes as JSON; use at most 1024", RangeError],
  ]
  for (const [claims, message, type] of wrong) await rejects(claims, sec1, message, type)
})

test("wrong keys are refused with what would be right, and are not shown", async () => {
  const claims = { sub: "u", topic: "a" }
  const secret = sec1.split("\n")[1]!
  const kind = "the key is not for P-256, Ed25519 or RSA of 2,048 bits or more; make one with openssl ecparam -name prime256v1 -genkey -noout"
  const unreadable = "the PEM holds no readable private key; make one with openssl ecparam -name prime256v1 -genkey -noout"
  const notPEM = /^the key is not PEM; use the contents of a file that begins with -----BEGIN EC PRIVATE KEY----- or -----BEGIN PRIVATE KEY-----$/
  const wrap = (type: string, der: string | Uint8Array) => `-----BEGIN ${type}-----\n${Buffer.from(der).toString("base64")}\n-----END ${type}-----\n`
  const der = Buffer.from(sec1.replace(/-----.*-----/g, ""), "base64")
  const wrong: [key: unknown, message: RegExp | string][] = [
    ["", notPEM],
    ["keys/es256_private.pem", notPEM],
    [secret, notPEM],
    [sec1.slice(0, 60), notPEM],
    ["-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", unreadable],
    [undefined, "the key is neither PEM nor a CryptoKey; use the contents of a PEM file"],
    [null, /^the key is neither PEM/],
    [{ kty: "EC" }, /^the key is neither PEM/],
    [sec1 + ed25519, "the PEM has 2 keys; use one private key"],
    [publicKeyOf(sec1), "the key is a public key; use the matching private key"],
    [openssl("pkcs8 -topk8 -passout pass:x", sec1), "the private key is encrypted; decrypt it with openssl pkcs8 -topk8 -nocrypt -in key.pem"],
    [openssl("ec -aes128 -passout pass:x", sec1), /^the private key is encrypted/],
    [openssl("rsa -traditional", rsa), "the key is of the type RSA PRIVATE KEY; convert it with openssl pkcs8 -topk8 -nocrypt -in key.pem"],
    [wrap("OPENSSH PRIVATE KEY", der), "the key is of the type OPENSSH PRIVATE KEY; use one of the type EC PRIVATE KEY or PRIVATE KEY"],
    [openssl("ecparam -name secp384r1 -genkey -noout"), kind],
    [openssl("ecparam -name secp256k1 -genkey -noout"), kind],
    [openssl("ecparam -name prime256v1 -genkey -noout -param_enc explicit"), kind],
    [openssl("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384"), kind],
    [openssl("genpkey -algorithm ed448"), kind],
    [openssl("genpkey -algorithm x25519"), kind],
    [openssl("genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:1024"), kind],
    [(await webcrypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, false, ["sign"])), kind],
    [(await webcrypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-384" }, false, ["sign"]) as any).privateKey, kind],
    [(await webcrypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]) as any).publicKey, 'the key cannot sign; use a private key with the usage "sign"'],
    [sec1.replace(secret, "%" + secret.slice(1)), unreadable],
    [wrap("PRIVATE KEY", der), unreadable],
    [wrap("EC PRIVATE KEY", "hello"), unreadable],
  ]
  for (const [key, message] of wrong) {
    await rejects(claims, key, message)
    const error: any = await sign(claims, key as string).catch((error) => error)
    assert.ok(!`${error.stack} ${error.cause?.stack}`.includes(secret.slice(1, 40)), "the error shows the key")
  }
  // Every truncation is refused, with the same error.
  for (let length = 0; length < der.length; length++)
    await rejects(claims, wrap("EC PRIVATE KEY", der.subarray(0, length)), /^the PEM holds no readable private key|^the key is not PEM|^the key is not for P-256/)
})

test("a runtime without the algorithm says so", async (t) => {
  t.mock.method(crypto.subtle, "importKey", async () => {
    throw new DOMException("Unrecognized name.", "NotSupportedError")
  })
  await rejects({ sub: "u", topic: "a" }, ed25519, "this runtime cannot sign with a key for EdDSA; make one with openssl ecparam -name prime256v1 -genkey -noout")
})

test("it needs nothing but what all runtimes have", async (t) => {
  const { url, privateKey } = await startDev(t)
  const { outputFiles } = await build({
    stdin: { contents: 'export * from "notiflux/server"', resolveDir: "." },
    bundle: true,
    platform: "neutral",
    format: "iife",
    globalName: "server",
    write: false,
  })
  const { crypto, TextEncoder, TextDecoder, URL, atob, btoa, fetch, AbortController, setTimeout, clearTimeout } = globalThis
  const context = createContext({ crypto, TextEncoder, TextDecoder, URL, atob, btoa, fetch, AbortController, setTimeout, clearTimeout })
  const { sign, publish } = runInContext(outputFiles[0]!.text + "; server", context)
  const position = await publish(url, { topic: "a", message: 1 }, { privateKey })
  const { status, body } = await history(url, "a", await sign({ sub: "u", topic: "a" }, privateKey))
  assert.deepEqual([status, body.position], [200, position])
})

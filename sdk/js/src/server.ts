// notiflux/server: what a back end does. It signs tokens and publishes messages.

export { NotifluxError } from "./error.js"
export type { Claims, Rights, Scope } from "./server/claims.js"
export { importKey, type PrivateKey, type SigningKey } from "./server/key.js"
export { type Credentials, type Outcome, publish, type Publication, type PublishOptions } from "./server/publish.js"
export { sign, type SignOptions } from "./server/sign.js"
export type { Code, Position } from "./types.js"

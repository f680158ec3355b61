export { NotifluxError } from "./error.js"
export type * from "./plugin.js"
export type * from "./transport.js"
export type * from "./types.js"

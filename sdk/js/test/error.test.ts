import assert from "node:assert/strict"
import { test } from "node:test"

import { NotifluxError } from "notiflux"

test("an error has what a program needs to know", () => {
  const cause = new Error("cause")
  const e = new NotifluxError("topic_denied", { topic: "a", status: 403, cause }, "the token does not allow this topic")
  assert.ok(e instanceof Error)
  assert.equal(e.name, "NotifluxError")
  assert.equal(e.message, "the token does not allow this topic")
  assert.deepEqual([e.code, e.topic, e.status, e.retry, e.cause], ["topic_denied", "a", 403, false, cause])
})

import assert from "node:assert/strict"
import { test } from "node:test"

import { limits, measure } from "../scripts/size.mjs"

for (const limit of limits)
  test(`${limit.name} is at most ${limit.bytes} bytes`, async () => {
    const size = await measure(limit)
    assert.ok(size <= limit.bytes, `minified and compressed it is ${size} bytes`)
  })

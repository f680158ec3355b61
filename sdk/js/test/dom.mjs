// Makes Node.js a browser, as far as React and Vue need one. It has to be imported before
// them, so it is no part of the bundles of the tests.

import { JSDOM } from "jsdom"

const { window } = new JSDOM("<!doctype html>")
const { document, Element, SVGElement } = window
Object.assign(globalThis, { window, document, Element, SVGElement, IS_REACT_ACT_ENVIRONMENT: true })
globalThis.navigator ??= window.navigator

// Stands in for the one of Node.js, which React 18 would leave open, and the process with it.
globalThis.MessageChannel = class {
  port1 = {}
  port2 = { postMessage: () => setImmediate(() => this.port1.onmessage()) }
}

/** Returns an empty element. */
export const container = () => document.createElement("div")

// DER, as far as private keys need it: elements of a tag, a length and contents (X.690).

export const enum Tag {
  Integer = 0x02,
  OctetString = 0x04,
  ObjectIdentifier = 0x06,
  Sequence = 0x30,
}

/** Splits bytes into elements: the tag and the contents of each. It throws an error if they end too early. */
export const readElements = (bytes: Uint8Array): [tag: number, contents: Uint8Array][] => {
  const found: [number, Uint8Array][] = []
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at++]!
    let length = bytes[at++] ?? NaN
    if (length > 0x83) throw new RangeError("an element is too long")
    if (length > 0x7f) {
      const end = at + length - 0x80
      for (length = 0; at < end; at++) length = length * 256 + (bytes[at] ?? NaN)
    }
    if (!(at + length <= bytes.length)) throw new RangeError("an element ends too early")
    found.push([tag, bytes.subarray(at, (at += length))])
  }
  return found
}

/** Returns an element with these contents, of up to 64 KiB. */
export const writeElement = (tag: number, ...contents: ArrayLike<number>[]): Uint8Array<ArrayBuffer> => {
  const bytes = contents.flatMap((part) => Array.from(part))
  const { length } = bytes
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Uint8Array.from([tag, ...head, ...bytes])
}

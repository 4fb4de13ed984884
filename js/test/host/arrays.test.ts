import { describe, expect, it } from "vitest";
import fixture from "../../../tests/fixtures/protocol.json";
import { decodeArray, encodeArray, type NumberArray } from "../../src/host/arrays";

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
const numbers = (values: NumberArray) => Array.from(values as Iterable<number | bigint>, Number);

describe("arrays on the wire", () => {
  for (const { dtype, shape, base64, values } of fixture.arrays) {
    it(`decodes ${dtype} [${shape}]`, () => {
      const decoded = decodeArray({ data: bytesOf(base64), dtype, shape });
      expect(numbers(decoded.values)).toEqual(values);
      expect(decoded.shape).toEqual(shape);
    });

    it(`decodes ${dtype} [${shape}] from the middle of a message`, () => {
      const bytes = bytesOf(base64);
      const message = new Uint8Array(bytes.length + 4);
      message.set(bytes, 3);
      const data = new DataView(message.buffer, 3, bytes.length);
      expect(numbers(decodeArray({ data, dtype, shape }).values)).toEqual(values);
    });
  }

  it("reads infinities and NaN of halves", () => {
    const data = new Uint8Array([0x00, 0x7c, 0x00, 0xfc, 0x01, 0x7e]);
    const { values } = decodeArray({ data, dtype: "float16", shape: [3] });
    expect(Array.from(values as Float32Array)).toEqual([Infinity, -Infinity, NaN]);
  });

  it("sends only the part of a buffer that the array covers", () => {
    const part = new Float32Array([1, 2, 3, 4]).subarray(1, 3);
    const wire = encodeArray(part);
    expect(wire.dtype).toBe("float32");
    expect(numbers(decodeArray(wire).values)).toEqual([2, 3]);
  });

  it("refuses bytes that do not fill the shape", () => {
    const data = new Uint8Array(8);
    expect(() => decodeArray({ data, dtype: "float32", shape: [3] })).toThrow(/shape/);
    expect(() => decodeArray({ data, dtype: "complex64", shape: [1] })).toThrow(/complex64/);
  });
});

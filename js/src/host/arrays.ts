// Arrays on the wire: {data, dtype, shape}, little-endian and C-contiguous.

export interface WireArray {
  data: DataView | ArrayBuffer | ArrayBufferView;
  dtype: string;
  shape: number[];
}

export type NumberArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigInt64Array;

export interface DecodedArray {
  values: NumberArray;
  shape: number[];
}

const CONSTRUCTORS = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  bool: Uint8Array,
} as const;

/** Decodes to the typed array of the dtype (float16 becomes float32). */
export function decodeArray(wire: WireArray): DecodedArray {
  const bytes = toBytes(wire.data);
  const values = wire.dtype === "float16" ? fromHalf(bytes) : view(wire.dtype, bytes);
  const count = wire.shape.reduce((product, side) => product * side, 1);
  if (values.length !== count) {
    throw new Error(`An array of shape [${wire.shape}] came with ${values.length} values.`);
  }
  return { values, shape: wire.shape };
}

export function encodeArray(values: NumberArray, shape: number[] = [values.length]): WireArray {
  const data = new DataView(values.buffer, values.byteOffset, values.byteLength);
  const found = Object.entries(CONSTRUCTORS).find(([, type]) => values instanceof type);
  if (!found) throw new Error("Only typed arrays can be sent to the kernel.");
  return { data, dtype: found[0], shape };
}

/** One IEEE 754 half as a number. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function toBytes(data: WireArray["data"]): Uint8Array<ArrayBufferLike> {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function view(dtype: string, bytes: Uint8Array<ArrayBufferLike>): NumberArray {
  const type = CONSTRUCTORS[dtype as keyof typeof CONSTRUCTORS];
  if (!type) throw new Error(`Arrays of ${dtype} cannot be read here.`);
  const size = type.BYTES_PER_ELEMENT;
  if (bytes.byteLength % size)
    throw new Error(`${bytes.byteLength} bytes are no array of ${dtype}.`);
  // A typed array needs an offset that its element size divides: copy when the message put it elsewhere.
  const aligned = bytes.byteOffset % size ? bytes.slice() : bytes;
  return new type(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / size);
}

function fromHalf(bytes: Uint8Array<ArrayBufferLike>): Float32Array {
  return Float32Array.from(view("uint16", bytes) as Uint16Array, halfToNumber);
}

/** An array in a trait: its bytes are base64 text, since JupyterLab drops binary buffers when it saves a notebook. */
export interface Packed {
  data: string;
  dtype: string;
  shape: number[];
}

export function unpack({ data, dtype, shape }: Packed): DecodedArray {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return decodeArray({ data: bytes, dtype, shape });
}

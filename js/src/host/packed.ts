// Arrays inside traits: their bytes are base64 text, since JupyterLab drops binary buffers when it saves a notebook.
import { type DecodedArray, decodeArray } from "./arrays";

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

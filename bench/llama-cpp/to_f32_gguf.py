"""Writes a GGUF file again with every tensor dequantised to F32, metadata kept, so that llama.cpp computes in f32 on the same weights.

Dequantises with the gguf package, not with Continuo: a comparison against the result checks Continuo's own dequantisation as well.
Needs the packages gguf and numpy. Usage: python to_f32_gguf.py IN.gguf OUT.gguf
"""

import os
import sys

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize

# Written by the writer itself, or no longer true of the result.
NOT_COPIED = {"general.architecture", "general.file_type", "general.quantization_version"}


def copy_metadata(reader: GGUFReader, writer: GGUFWriter) -> None:
    for field in reader.fields.values():
        # The reader lists the header's own counts as fields named GGUF.*.
        if field.name in NOT_COPIED or field.name.startswith("GGUF."):
            continue
        element_type = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], element_type)
    writer.add_file_type(LlamaFileType.ALL_F32)


def convert(source: str, target: str) -> None:
    reader = GGUFReader(source)
    architecture = reader.get_field("general.architecture").contents()
    part = f"{target}.part"
    writer = GGUFWriter(part, architecture)
    copy_metadata(reader, writer)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(part, target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    convert(sys.argv[1], sys.argv[2])

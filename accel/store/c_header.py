"""The memory map's tables as a C header: how the compiled side learns them when setup.py builds it.

Owns no number: each comes out of `layout`.
"""

from __future__ import annotations

from accel.store import layout


def c_header() -> str:
    """Return the tables of `layout` as C: what the compiled side is built with."""
    lines = ["/* Written by setup.py out of accel/store/layout.py. */", "#include <stdint.h>"]
    lines += [f"#define {name} {value}" for name, value in layout.CONSTANTS.items()]
    lines.append(f"#define LAYOUT_FINGERPRINT {layout.FINGERPRINT}u")
    for name, fields in layout.STRUCTURES.items():
        lines.append(f"typedef struct {{ /* {layout.structure_bytes(name)} bytes */")
        lines += [f"    uint{layout.word_bytes(field) * 8}_t {field.name}; /* {field.meaning} */" for field in fields]
        lines.append(f"}} accel_{name};")
        lines.append(f'_Static_assert(sizeof(accel_{name}) == {layout.structure_bytes(name)}, "{name} has no gaps");')
    return "\n".join(lines) + "\n"

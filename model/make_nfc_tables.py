#!/usr/bin/env python3
"""Writes nfc_tables.inc: the canonical decompositions and combining classes of Unicode, and
what is not composed again, as Python's unicodedata has them. Run by hand: python3 model/make_nfc_tables.py"""

import pathlib
import sys
import unicodedata


def rows(entries, width=99):
    """The entries, comma-separated, in lines of at most `width` columns."""
    line = ""
    for entry in entries:
        if len(line) + len(entry) + 1 > width:
            yield line
            line = ""
        line += entry + ","
    yield line


def main():
    decompositions, classes, excluded = [], [], []
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if 0xD800 <= code <= 0xDFFF or 0xAC00 <= code <= 0xD7A3:
            continue  # surrogates; Hangul syllables, which are computed
        combining = unicodedata.combining(character)
        if combining:
            classes.append((code, combining))
        parts = unicodedata.decomposition(character)
        if not parts or parts.startswith("<"):
            continue
        parts = [int(part, 16) for part in parts.split()] + [0]
        decompositions.append((code, parts[0], parts[1]))
        # Normalizing the pair tells whether it is excluded from composition.
        if parts[1] and unicodedata.normalize("NFC", chr(parts[0]) + chr(parts[1])) != character:
            excluded.append(code)

    out = [f"// Written by make_nfc_tables.py from Unicode {unicodedata.unidata_version}.",
           "// clang-format off", "constexpr char32_t decompositions[][3] = {"]
    out += rows("{%d,%d,%d}" % entry for entry in decompositions)
    out += ["};", "constexpr char32_t combining_classes[][2] = {"]
    out += rows("{%d,%d}" % entry for entry in classes)
    out += ["};", "constexpr char32_t not_composed[] = {"]
    out += rows("%d" % code for code in excluded)
    out += ["};", "// clang-format on"]
    path = pathlib.Path(__file__).parent / "nfc_tables.inc"
    path.write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()

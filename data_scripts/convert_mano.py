"""Check a MANO model file and convert it between .pkl and .npz; chumpy is not needed.

    python data_scripts/convert_mano.py MANO_RIGHT.pkl mano_right.npz

MANO's authors license it for non-commercial research, and it may not be passed on. Get MANO_RIGHT.pkl and
MANO_LEFT.pkl from the authors, and do not share the converted file. smplx and manopth can read the `.pkl` that this
script writes.
"""

import argparse
import sys
from pathlib import Path

from dhpe_lib.hand.io import HandFileError, read_hand, side_of, write_hand


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="MANO_RIGHT.pkl, MANO_LEFT.pkl or an .npz with MANO's fields")
    parser.add_argument("target", type=Path, help="output file; its suffix, .npz or .pkl, chooses the format")
    arguments = parser.parse_args()
    try:
        hand = read_hand(arguments.source)
        arguments.target.parent.mkdir(parents=True, exist_ok=True)
        write_hand(arguments.target, hand)
    except (HandFileError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.target}: {side_of(hand)} hand, {arguments.target.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

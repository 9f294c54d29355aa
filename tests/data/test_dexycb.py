"""DexYCB: the authors' splits, cameras, both sides, frames without a hand, incomplete and damaged copies."""

import numpy as np
import pytest
from fake_datasets import DEXYCB_CAMERA, DEXYCB_META, canonical, points, projected, write_dexycb_frames

from dhpe_lib.data.checks import DatasetError
from dhpe_lib.data.readers import DATASETS, dexycb
from dhpe_lib.data.readers.dexycb import SPLITS, DexYcb, chosen
from dhpe_lib.data.sample import mirror

CLOUD = points(1, depth=800)
K = np.array([[610.5, 0, 312.5], [0, 611, 244.5], [0, 0, 1]])
LEFT_SEQUENCE = "20200101-subject-02/20200101_000001"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two subjects with five sequences of two frames; the second frame of each has no hand."""
    monkeypatch.setattr(dexycb, "SUBJECTS", 2)
    monkeypatch.setattr(dexycb, "SEQUENCES", 5)
    monkeypatch.setattr(dexycb, "SERIALS", dexycb.SERIALS[:2])
    for serial in dexycb.SERIALS:
        path = tmp_path / f"calibration/intrinsics/{serial}_640x480.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(DEXYCB_CAMERA)
    for subject in ("20200101-subject-01", "20200101-subject-02"):
        for number in range(5):
            sequence = tmp_path / subject / f"20200101_00000{number}"
            sequence.mkdir(parents=True)
            side = "left" if number == 1 else "right"
            (sequence / "meta.yml").write_text(DEXYCB_META.format(side))
            for serial in dexycb.SERIALS:
                write_dexycb_frames(sequence / serial, CLOUD)
    (tmp_path / "models").mkdir()
    return tmp_path


def test_samples(root):
    found = DexYcb(root, "s0-train")
    assert len(found) == 2 * 4 * 2 * 2  # subjects, sequences, cameras, frames
    assert found.ids[0] == f"20200101-subject-01/20200101_000000/{dexycb.SERIALS[0]}/000000"
    sample = found[0]
    np.testing.assert_allclose(sample.joints_3d, canonical(CLOUD), atol=1e-3)
    np.testing.assert_allclose(sample.k, K)
    np.testing.assert_allclose(sample.joints_2d, projected(canonical(CLOUD), K), atol=1e-3)
    assert (sample.side, sample.joint_0, sample.mask.sum(), sample.visible.all()) == ("right", "wrist", 300, True)
    empty = found[1]
    assert np.isnan(empty.joints_3d).all()
    assert not empty.visible.any()


def test_a_left_hand_is_mirrored(root):
    found = DexYcb(root, "s0-train")
    index = next(k for k, name in enumerate(found.ids) if name.startswith(LEFT_SEQUENCE))
    assert found[index].side == "left"
    np.testing.assert_allclose(mirror(found[index]).joints_3d, canonical(CLOUD), atol=1e-3)


@pytest.mark.parametrize(
    ("split", "subjects", "cameras", "sequences"),
    [
        ("s0-train", 10, 8, 80), ("s0-val", 2, 8, 20), ("s0-test", 8, 8, 20),
        ("s1-train", 7, 8, 100), ("s1-val", 1, 8, 100), ("s1-test", 2, 8, 100),
        ("s2-train", 10, 6, 100), ("s2-val", 10, 1, 100), ("s2-test", 10, 1, 100),
        ("s3-train", 10, 8, 75), ("s3-val", 10, 8, 10), ("s3-test", 10, 8, 15),
    ],
)  # fmt: skip
def test_the_splits_are_the_authors(split, subjects, cameras, sequences):
    found = chosen(split)
    assert tuple(map(len, found)) == (subjects, cameras, sequences)
    assert all(len(set(part)) == len(part) for part in found)


@pytest.mark.parametrize("setup", dexycb.SETUPS)
def test_the_parts_of_a_set_up_are_disjoint_and_complete(setup):
    triples = [
        {(subject, camera, sequence) for subject in found[0] for camera in found[1] for sequence in found[2]}
        for found in (chosen(split) for split in SPLITS if split.startswith(setup))
    ]
    assert sum(map(len, triples)) == len(set().union(*triples)) == 8000


def test_incomplete_copies_are_refused(root):
    (root / LEFT_SEQUENCE).rename(root / "models" / "x")
    with pytest.raises(DatasetError, match=r"subject-02: holds 4 sequences, 5 were published; get DexYCB"):
        DexYcb(root, "s0-train")
    (root / "20200101-subject-01").rename(root / "models" / "y")
    with pytest.raises(DatasetError, match=r"holds 1 subjects, 2 were published; get DexYCB"):
        DexYcb(root, "s1-train")
    with pytest.raises(DatasetError, match="no split 's0'"):
        DexYcb(root, "s0")


def test_damaged_files_are_named(root):
    frame = root / "20200101-subject-01/20200101_000000" / dexycb.SERIALS[0]
    found = DexYcb(root, "s0-train")
    np.savez(frame / "labels_000000.npz", seg=np.zeros((4, 4)), joint_3d=np.zeros((1, 21, 3)))
    with pytest.raises(DatasetError, match=r"labels_000000\.npz: seg has shape \(4, 4\)"):
        found[0]
    np.savez(frame / "labels_000000.npz", seg=np.zeros((480, 640)), joint_3d=np.zeros((21, 3)))
    with pytest.raises(DatasetError, match=r"joint_3d has shape \(21, 3\), not \(1, 21, 3\)"):
        found[0]
    (frame / "labels_000000.npz").write_bytes(b"PK damaged")
    with pytest.raises(DatasetError, match=r"labels_000000\.npz: cannot be read"):
        found[0]
    np.savez_compressed(frame / "labels_000000.npz", seg=np.zeros(2**22), joint_3d=np.zeros((1, 21, 3)))
    with pytest.raises(DatasetError, match=r"labels_000000\.npz: cannot be read .*more than 16777216 bytes"):
        found[0]
    (frame / "color_000001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"color_000001\.jpg: no such file; get DexYCB"):
        found[1]
    (root / LEFT_SEQUENCE / "meta.yml").write_text("num_frames: -1")
    with pytest.raises(DatasetError, match=r"meta\.yml: the field num_frames is not a whole number >= 1; get Dex"):
        DexYcb(root, "s0-train")
    (root / LEFT_SEQUENCE / "meta.yml").write_text("{a: [")
    with pytest.raises(DatasetError, match=r"meta\.yml: is damaged or not YAML"):
        DexYcb(root, "s0-train")
    merged = "".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}\n" for k in range(1, 12))
    for text, message in (
        (f"a0: &a0 {{b: 1}}\n{merged}", "it has an alias"),
        ("num_frames: 2020-99-99", "not YAML"),
        (" " * 2**17, "larger than 65536 bytes"),
        ("[]", "is a list, not an object"),
        ("num_frames: 3", "lacks the field mano_sides"),
        ("{num_frames: 3, mano_sides: [up]}", r"the field mano_sides\[0\] is 'up', which is not allowed"),
        ("{num_frames: 3, mano_sides: [left, right]}", "the field mano_sides is not a list of length 1"),
        (f"{{num_frames: 0x{'f' * 5000}, mano_sides: [left]}}", "the field num_frames is not a whole number <= 9999"),
    ):
        (root / LEFT_SEQUENCE / "meta.yml").write_text(text)
        with pytest.raises(DatasetError, match=rf"meta\.yml: .*{message}"):
            DexYcb(root, "s0-train")
    (root / f"calibration/intrinsics/{dexycb.SERIALS[0]}_640x480.yml").write_text("color: {fx: 1}")
    with pytest.raises(DatasetError, match=r"640x480\.yml: lacks the field color\.fy"):
        DexYcb(root, "s0-train")
    numbers = "fx: 1, fy: 1, ppx: 1, ppy: .nan"
    (root / f"calibration/intrinsics/{dexycb.SERIALS[0]}_640x480.yml").write_text(f"color: {{{numbers}}}")
    with pytest.raises(DatasetError, match=r"640x480\.yml: color is not finite at \(1, 2\)"):
        DexYcb(root, "s0-train")


def test_check(root, monkeypatch):
    train, val, _ = DATASETS["dexycb"].check(root)
    assert train.problem == "the descriptions of s0-train list 32 frames, 465,504 were published"
    assert (train.count, val.problem, val.count) == (32, None, 8)  # the number of s0-val is not known
    monkeypatch.setattr(dexycb, "COUNTS", {"s0-train": 32})
    train, val, _ = DATASETS["dexycb"].check(root)
    assert (train.problem, train.count, val.problem, val.count) == (None, 32, None, 8)
    (root / LEFT_SEQUENCE / dexycb.SERIALS[1] / "color_000001.jpg").unlink()
    assert "1 of 32 images missing" in DATASETS["dexycb"].check(root)[0].problem

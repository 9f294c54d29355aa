"""Joint orders equal the descriptions of the datasets, and f_Reg equals weighted sums of vertices."""

import numpy as np
import pytest
import torch

from dhpe_lib.hand.skeleton import (
    CANONICAL_FROM_MANO,
    FINGERS,
    FINGERTIP_VERTICES,
    JOINT_NAMES,
    JOINT_ORDERS,
    JOINT_PARENTS,
    MANO_JOINT_NAMES,
    MANO_PARENTS,
    MIDDLE_MCP,
    build_joint_regressor,
    regress_joints,
    to_canonical,
)

BASE_TO_TIP = ("1", "2", "3", "tip")
MANO_TIPS = tuple(f"{finger}_tip" for finger in FINGERS)
# Joint names of each dataset in its order, written from DATASETS.md, independently of the index tables.
DATASET_NAMES = {
    "rhd": ("wrist", *(f"{f}_{p}" for f in FINGERS for p in BASE_TO_TIP[::-1])),
    "stb": ("wrist", *(f"{f}_{p}" for f in FINGERS[::-1] for p in BASE_TO_TIP)),
    "freihand": ("wrist", *(f"{f}_{p}" for f in FINGERS for p in BASE_TO_TIP)),
    "mediapipe": ("wrist", *(f"{f}_{p}" for f in FINGERS for p in BASE_TO_TIP)),
    "mano": (*MANO_JOINT_NAMES, *MANO_TIPS),
    "ho3d": (*MANO_JOINT_NAMES, *MANO_TIPS),
}


def test_names_and_trees_agree():
    assert len(JOINT_NAMES) == len(JOINT_PARENTS) == 21
    assert JOINT_NAMES[MIDDLE_MCP] == "middle_1"
    for name, parent in zip(JOINT_NAMES[1:], JOINT_PARENTS[1:], strict=True):
        finger, part = name.split("_")
        before = {"1": "wrist", "2": f"{finger}_1", "3": f"{finger}_2", "tip": f"{finger}_3"}[part]
        assert JOINT_NAMES[parent] == before
    mano_parents = {n: MANO_JOINT_NAMES[p] for n, p in zip(MANO_JOINT_NAMES[1:], MANO_PARENTS[1:], strict=True)}
    assert all(mano_parents[n] == JOINT_NAMES[JOINT_PARENTS[JOINT_NAMES.index(n)]] for n in mano_parents)


@pytest.mark.parametrize("order", JOINT_ORDERS)
def test_orders_are_what_the_datasets_say(order):
    assert tuple(DATASET_NAMES[order][i] for i in JOINT_ORDERS[order]) == JOINT_NAMES


def test_known_landmarks():
    assert JOINT_ORDERS["rhd"][MIDDLE_MCP] == 12  # Zimmermann & Brox's readme
    assert CANONICAL_FROM_MANO[:5] == (0, 13, 14, 15, 16)


def test_to_canonical_takes_tensors_and_arrays():
    rows = np.arange(2 * 21 * 2).reshape(2, 21, 2)
    expected = rows[:, list(JOINT_ORDERS["stb"])]
    np.testing.assert_array_equal(to_canonical(rows, "stb"), expected)
    assert torch.equal(to_canonical(torch.from_numpy(rows), "stb"), torch.from_numpy(expected))


def test_unknown_order_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'hand3d'.*rhd, stb, freihand"):
        to_canonical(torch.zeros(21, 3), "hand3d")


def test_regressor_rows_are_mano_joints_and_tips(device, tol, generator):
    j_regressor = torch.softmax(torch.randn(16, 778, generator=generator), 1).to(device)
    vertices = torch.randn(4, 778, 3, generator=generator).to(device)
    joints = regress_joints(vertices, build_joint_regressor(j_regressor))
    assert joints.shape == (4, 21, 3)
    for row, name in enumerate(JOINT_NAMES):
        if name.endswith("tip"):
            expected = vertices[:, FINGERTIP_VERTICES[FINGERS.index(name.split("_")[0])]]
        else:
            expected = (j_regressor[MANO_JOINT_NAMES.index(name), :, None] * vertices).sum(1)
        torch.testing.assert_close(joints[:, row], expected, **tol[torch.float32])


def test_gradcheck_regress_joints(generator):
    regressor = torch.rand(21, 9, generator=generator, dtype=torch.float64)
    vertices = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(regress_joints, (vertices, regressor))


@pytest.mark.parametrize("tips", [(1, 2, 3, 4), (1, 2, 3, 4, 778), (-1, 2, 3, 4, 5)])
def test_wrong_tips_are_named(tips):
    with pytest.raises(ValueError, match="tips must name five vertices below 778"):
        build_joint_regressor(torch.zeros(16, 778), tips)

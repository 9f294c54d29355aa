"""The figures show each dataset's own numbers, and the cameras where the readers put them."""

import numpy as np
import pytest

from dhpe_lib.data.readers import dexter_object, stb
from dhpe_lib.figures.dataset_figures import ORDERS, camera_rigs, cameras_from_above, farthest, joint_orders
from dhpe_lib.hand import JOINT_NAMES, HandModel, to_canonical

MODEL = HandModel.open_hand()
JOINTS = MODEL().joints[0].numpy()


@pytest.fixture(scope="module")
def buttons() -> dict[str, tuple]:
    """For each dataset what its button changes, and which trace."""
    return {button.label: button.args for button in joint_orders(MODEL).layout.updatemenus[0].buttons}


@pytest.mark.parametrize("dataset", [name for name, order in ORDERS.items() if order])
def test_a_button_numbers_the_joints_as_the_reader_reads_them(buttons, dataset):
    """A row of the dataset that is taken to the canonical order is the number beside this joint."""
    numbers = buttons[dataset][0]["text"][0]
    rows = to_canonical(np.arange(21)[:, None], ORDERS[dataset])[:, 0]
    assert numbers == [f" <b>{row}</b>" for row in rows]


def test_only_the_labelled_joints_are_shown(buttons):
    assert buttons["Dexter+Object"][0]["hovertext"][0] == [name for name in JOINT_NAMES if name.endswith("tip")]
    assert buttons["STB"][0]["hovertext"][0][0] == "palm"
    assert buttons["RHD"][0]["hovertext"][0] == list(JOINT_NAMES)


def test_stb_has_its_first_joint_in_the_palm_and_no_other_hand_is_changed(buttons):
    palm, wrist = (np.array([buttons[name][0][axis][0][0] for axis in "xyz"]) for name in ("STB", "RHD"))
    middle = np.array([buttons["RHD"][0][axis][0][9] for axis in "xyz"])
    np.testing.assert_allclose(palm, (wrist + middle) / 2, atol=1e-6)


def test_the_buttons_change_the_numbers_and_the_first_dataset_is_shown(buttons):
    figure = joint_orders(MODEL)
    (index,) = buttons["RHD"][1]
    assert figure.data[index].mode == "markers+text"
    assert list(figure.data[index].text) == buttons["FreiHAND"][0]["text"][0]


def test_cameras_stand_where_the_readers_take_the_labels_from():
    """A camera's place in the frame of the labels is the origin of its own frame."""
    rigs = camera_rigs()
    (colour,) = rigs["STB, RealSense"]
    np.testing.assert_allclose(stb.to_camera(np.array([colour.place]), "SK_color"), 0, atol=1e-3)
    right = rigs["STB, stereo"][1]
    np.testing.assert_allclose(stb.to_camera(np.array([right.place]), "BB_right"), 0, atol=1e-9)
    (beside,) = rigs["Dexter+Object"]
    labelled = beside.place[None] * dexter_object.AXES
    np.testing.assert_allclose(dexter_object.to_color_camera(labelled), 0, atol=0.01)


def test_each_panel_says_how_far_its_camera_is():
    figure = cameras_from_above(JOINTS)
    expected = [f"{name}: {farthest(cameras):.0f} mm" for name, cameras in camera_rigs().items()]
    assert [note.text for note in figure.layout.annotations] == expected
    assert {trace.xaxis for trace in figure.data} == {"x", "x2", "x3"}


def test_a_field_of_view_is_as_wide_as_the_picture():
    triangle = next(trace for trace in cameras_from_above(JOINTS).data if trace.fill == "toself")
    camera = camera_rigs()["STB, stereo"][0]
    left, apex, right = (np.array([x, 0, z]) for x, z in zip(triangle.x, triangle.y, strict=True))
    np.testing.assert_allclose(apex, camera.place)
    for corner, pixel in ((left, 0), (right, 640)):
        x, _, z = camera.k @ (corner - apex)
        assert x / z == pytest.approx(pixel)

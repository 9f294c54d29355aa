"""The parametric hand in MANO's format: h (Eq. 4) gives a mesh, and f_Reg gives the 21 joints of the mesh."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "model": ["HandMesh", "HandModel", "about_wrist", "neutral_h"],
        "parameters": ["HandParameters", "mirror_h", "positive_scale", "split_h"],
        "rotations": [
            "axis_angle_to_matrix",
            "matrix_from_6d",
            "matrix_to_6d",
            "matrix_to_axis_angle",
            "matrix_to_quaternion",
            "quaternion_to_matrix",
            "random_rotations",
        ],
        "skeleton": ["FINGERS", "JOINT_NAMES", "JOINT_ORDERS", "JOINT_PARENTS", "regress_joints", "to_canonical"],
        "poses": ["joint_limits", "pose_from_angles", "sample_poses"],
        "laplacian": ["Laplacian"],
        "io": ["read_hand", "write_hand", "write_mesh"],
        "export": ["export_hand"],
        "rig": ["HandTrack"],
        "rigged_glb": ["write_rigged_glb"],
        "animated_glb": ["write_animated_glb"],
        "bvh": ["write_bvh"],
        "conversions": [
            "HandPose",
            "flat_to_mean",
            "from_frankmocap",
            "from_freihand",
            "from_hamer",
            "from_matrix",
            "from_smplx",
            "mean_to_flat",
            "mirror_pose",
            "pose_to_pca",
            "to_freihand",
            "to_matrix",
        ],
        "pose_files": ["pose_fields", "read_pose", "write_pose"],
    },
)

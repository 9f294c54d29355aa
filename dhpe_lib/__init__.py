"""Dense 3D hand pose estimation from one colour image by neural rendering (Baek, Kim and Kim, CVPR 2019).

The modules follow the paper's Fig. 2; nothing is imported here, so that `import dhpe_lib` and `dhpe --help` stay fast.
"""

__version__ = "0.1.0"

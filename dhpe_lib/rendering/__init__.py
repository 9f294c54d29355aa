"""f_Ren and f_TRen: silhouettes and pictures of a mesh, with gradients."""

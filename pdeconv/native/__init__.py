"""Native CPU kernels: many explicit steps in one pass over memory, behind the same steps and terms.

Optional: without a compiler at installation the plain PyTorch operators do the same, slower.
"""

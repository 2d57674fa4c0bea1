"""The time of kernels on a GPU from its datasheet: how much of the machine each shape of kernel puts to use."""

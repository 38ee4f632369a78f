"""PyTorch: modules that a function builds, exported programs (.pt2), TorchScript (.pt).

What needs no torch - which dimensions are open, whether weights fit, what an error means - is in `axes`, `weights` and
`sentences`; everything else imports torch where it is used.
"""

"""Published figures, which the tables show for comparison. None was measured by this project."""

from statistic.benchmark import Published

_PAPER = "Ren et al., Neural Blind Deconvolution Using Deep Priors, CVPR 2020"
_VDIP = "Huo et al., Blind Image Deconvolution Using Variational Deep Image Prior, TPAMI 2023"
_DEBLUR_INR = "Deblur-INR, 2024"

# Averages over all 32 images.
LEVIN = (
    Published("known kernel", 34.53, 0.949, 1.000, _PAPER),
    Published("Krishnan", 29.88, 0.866, 2.452, _PAPER),
    Published("Cho & Lee", 30.57, 0.896, 1.711, _PAPER),
    Published("Levin", 30.80, 0.909, 1.772, _PAPER),
    Published("Xu & Jia", 31.67, 0.916, 1.489, _PAPER),
    Published("Sun", 32.99, 0.933, 1.284, _PAPER),
    Published("Zuo", 32.66, 0.933, 1.250, _PAPER),
    Published("Pan-DCP", 32.69, 0.928, 1.255, _PAPER),
    Published("SelfDeblur", 33.07, 0.931, 1.196, _PAPER),
    Published("Deblur-INR", 33.74, 0.938, 1.185, _DEBLUR_INR),
)

# Averages over all 100 uniformly blurred images.
LAI = (
    Published("SelfDeblur", 20.97, 0.752, None, _PAPER),
    Published("VDIP", 25.12, 0.869, None, _VDIP),
    Published("Deblur-INR", 25.16, 0.879, None, _DEBLUR_INR),
)

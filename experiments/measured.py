"""One figure of each system, from the tables of README.md, which say what it is of."""

__all__ = ["MEASURED"]

MEASURED = {
  "acgan": "kernel distance 0.301 on Fashion-MNIST after 1,200 steps",
  "began": "kernel distance 0.375 on Fashion-MNIST after 874 steps",
  "biggan": "kernel distance 0.076 to 0.124 on Fashion-MNIST after 900 steps",
  "cgan": "kernel distance 0.187 on Fashion-MNIST after 3,560 steps",
  "cyclegan": "kernel distance 0.121 on drawings to colour at 32 pixels after 1,500 steps",
  "dcgan": "kernel distance 0.094 to 0.105 on Fashion-MNIST after 2,000 steps",
  "dragan": "kernel distance 0.288 on Fashion-MNIST after 2,000 steps",
  "ebgan": "kernel distance 0.150 on Fashion-MNIST after 1,200 steps",
  "fgan": "kernel distance 0.324 on Fashion-MNIST after 2,000 steps",
  "gan": "kernel distance 0.165 on Fashion-MNIST after 2,627 steps",
  "gigagan": "kernel distance 0.113 on emoji at 32 pixels after 3,000 steps",
  "improved_gan": "kernel distance 0.208 on Fashion-MNIST after 1,792 steps",
  "infogan": "kernel distance 0.038 on digits after 1,100 steps",
  "lsgan": "kernel distance 0.192 on Fashion-MNIST after 2,000 steps",
  "mixtures": "8 of 8 modes of the ring, 25 of 25 of the grid",
  "pacgan": "kernel distance 0.181 on Fashion-MNIST after 2,000 steps",
  "pix2pix": "kernel distance 0.074 on drawings to colour at 64 pixels after 2,000 steps",
  "progan": "kernel distance 0.204 on emoji at 32 pixels after 2,000 steps",
  "r3gan": "kernel distance 0.188 on emoji at 32 pixels after 940 steps",
  "sagan": "kernel distance 0.383 on Fashion-MNIST after 355 steps",
  "sngan": "kernel distance 0.155 on Fashion-MNIST after 656 steps, its best of three seeds",
  "sngan_projection": "kernel distance 0.236 on Fashion-MNIST after 455 steps",
  "stylegan": "kernel distance 0.353 on emoji at 32 pixels after 1,500 steps",
  "stylegan2": "kernel distance 0.232 on emoji at 32 pixels after 2,500 steps, with ADA",
  "unit": "kernel distance 0.172 on drawings to colour at 32 pixels after 1,200 steps",
  "wgan": "kernel distance 0.244 on Fashion-MNIST after 637 steps",
  "wgan_gp": "kernel distance 0.309 on Fashion-MNIST after 687 steps, its best of three seeds",
}

"""Neural counterparts of the models in `ebm`: networks, autoencoders, VAE and GAN. Imports `ebm`, never the other way round."""

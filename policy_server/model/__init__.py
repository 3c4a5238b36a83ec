"""The networks in torch: encoder, conditional UNet, diffusion, and the policy that joins them."""

"""One call instead of two for each product of joined layers, where Triton and an NVIDIA GPU are there.

`card.py` says whether they are, `launch.py` calls the kernels, `language.py` has them, `tiles.py` knows their tile
sizes. Elsewhere, and wherever something goes wrong, the products stay what `lora.joint` makes them, and a sentence on
stderr says why.
"""

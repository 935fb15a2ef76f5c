"""How the networks are made, in reading order: spec, cells, wells, frame, scene, camera, render (synthetic plates
with exact truth); dataset, nets, train (learning); export, evaluate (the release). Development only.
"""

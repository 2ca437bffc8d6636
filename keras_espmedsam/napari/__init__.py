"""The plugin for napari: segment image layers, with the masks as labels layers.

`napari.yaml` tells napari what there is. Only `segment_widget` needs napari (extra `napari`).
"""

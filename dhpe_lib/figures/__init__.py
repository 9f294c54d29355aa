"""Pictures of hands and curves: plotly, contact sheets, the viewer with sliders."""

"""The page about the API, made from its OpenAPI document; `descriptions`: their little Markdown as HTML."""

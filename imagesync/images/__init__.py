"""Everything about image bytes: downloading, storing, inspecting, unpacking, converting."""

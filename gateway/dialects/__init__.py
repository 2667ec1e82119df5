"""Other vendors' APIs over the same store: each folder translates one, at the edge. The core knows none."""

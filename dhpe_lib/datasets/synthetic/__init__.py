"""The synthetic engine: hands rendered with everything known of them, and the open benchmark made from them."""

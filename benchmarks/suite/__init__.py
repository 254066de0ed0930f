"""Which optimizer trains what, how well and how fast, at equal tuning?"""

"""The demo: its acts, its scale sets, and what a terminal shows of them."""

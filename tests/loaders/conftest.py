"""What runs inside other programs is not collected: it imports them."""

collect_ignore_glob = ["programs/*"]

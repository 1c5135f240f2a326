"""What pages share: their frame, their style, small charts. Law: a page needs no network and no other file."""

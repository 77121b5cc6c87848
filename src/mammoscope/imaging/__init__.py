"""One file to one prepared image: header, codecs, display, breast, canvas, verdict, prepare, store."""

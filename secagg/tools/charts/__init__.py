"""Charts and pages without a plotting library: strings of SVG and HTML, one file without scripts or addresses.

`svg` has the marks, `axes` puts values where they belong, `lines` draws series with their spread, `page` is the
document around them. Every colour is a class of `drawings.css`: drawings follow the reader's light or dark setting.
"""

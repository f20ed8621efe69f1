// Takes the place of the theme's 1.5 MB script of the same name, which turns icons into
// SVG. The icons that the pages use come from the theme's web font without it.

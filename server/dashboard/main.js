// The page is read from here.

# Part of ./dev: follows README on a machine that has nothing.
Fresh() { Fail "fresh: not written yet"; }

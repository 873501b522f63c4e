#!/usr/bin/perl
# Counts the words of this rank's share of a file's lines.
use strict;
use warnings;

my ($file, $word) = @ARGV;
my ($rank, $size) = ($ENV{RANK}, $ENV{WORLD_SIZE});
open(my $in, '<', $file) or die "$file: $!";
my ($lines, $count) = (0, 0);
while (my $line = <$in>) {
    next if ($. - 1) % $size != $rank;
    $lines++;
    $count++ while $line =~ /\b\Q$word\E\b/g;
}
printf "rank %d: %d times '%s' in %d lines\n", $rank, $count, $word, $lines;

# mutate.pl MUTANT TREE: applies the replacements of a mutant (.ci/mutants.sh says what one is) to the files of a tree, and prints
# their names. mutate.pl --check MUTANT TREE changes nothing, and only says whether they fit.
use strict;
use warnings;

my $check = $ARGV[0] eq "--check" ? shift : "";
my ($mutant, $root) = @ARGV;
open(my $in, "<", $mutant) or die "$mutant: $!\n";
my $text = do { local $/; <$in> };
my ($file, $found) = ("", 0);
while ($text =~ /^file: (\S+)$|^<<<<\n(.*?)^====\n(.*?)^>>>>$/msg) {
  if (defined $1) { $file = $1; next; }
  my ($old, $new) = ($2, $3);
  open(my $from, "<", "$root/$file") or die "$mutant: $file: $!\n";
  my $source = do { local $/; <$from> };
  my $times = () = $source =~ /\Q$old\E/g;
  die "$mutant: $file has the text $times times\n" if $times != 1;
  $found = 1;
  next if $check;
  $source =~ s/\Q$old\E/$new/;
  open(my $to, ">", "$root/$file") or die "$mutant: $file: $!\n";
  print $to $source;
  close($to);
  print "$file\n";
}
die "$mutant: no replacement\n" unless $found;

"""The sampler of a node's watch: counters five times a second, by one process without a child.

It writes only what changed, so that a quiet node costs little to store. Perl is part of every
Debian, and of Proxmox; where it is missing there are no samples. What it writes is read by
``core.parse.samples``.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_PAUSE_S = 0.2
_MAX_BYTES = 3_000_000

PROGRAM = r"""
my ($limit, $pause, $room, @devices) = @ARGV;
my %wanted = map { $_ => 1 } @devices;
my (%said, @out, $begun);
$| = 1;
sub lines { open(my $f, '<', $_[0]) or return (); my @l = <$f>; close $f; @l }
sub tell_of {
  my ($key, $text) = @_;
  return if defined $said{$key} && $said{$key} eq $text;
  $said{$key} = $text;
  push @out, "$key $text\n";
}
while (1) {
  my ($up) = split ' ', (lines('/proc/uptime'))[0];
  $begun //= $up;
  last if $up - $begun > $limit;
  @out = ("T $up\n");
  for (lines('/proc/net/dev')) {
    next unless /^\s*(\S+?):\s*(.*\S)/ && $wanted{$1};
    my ($name, @v) = ($1, split ' ', $2);
    tell_of("D $name", "@v[0..3,8..11]");
  }
  my ($dropped, $squeezed) = (0, 0);
  for (lines('/proc/net/softnet_stat')) {
    my @v = split;
    $dropped += hex $v[1];
    $squeezed += hex $v[2];
  }
  tell_of('S', "$dropped $squeezed");
  for my $kind (qw(cpu io memory)) {
    for (lines("/proc/pressure/$kind")) { tell_of("P $kind", $1) if /^some .*total=(\d+)/ }
  }
  for (lines('/proc/net/arp')) {
    my @v = split;
    tell_of("N $v[0] $v[5]", "$v[2] $v[3]") if @v == 6 && $wanted{$v[5]};
  }
  my $text = join '', @out;
  last if ($room -= length $text) < 0;
  print $text;
  select undef, undef, undef, $pause;
}
"""


def command(devices: Sequence[str], limit_s: int) -> str:
    """Return the shell command that samples until it is ended, or *limit_s* seconds have passed.

    Args:
        devices: Devices whose counters are sampled; others are read past.
        limit_s: Seconds after which it ends by itself.
    """
    words = ["perl", "-e", PROGRAM, str(limit_s), f"{_PAUSE_S:g}", str(_MAX_BYTES), *devices]
    return shlex.join(words)

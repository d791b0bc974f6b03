# What jq defines over JSON values, beside jaq's own definitions.
def tonumber: if isnumber then . else fromjson end;
def transpose: [range([.[] | length] | max) as $i | [.[][$i]]];
def keys: keys_unsorted | sort;
def to_entries: [keys_unsorted[] as $key | {key: $key, value: .[$key]}];
def from_entries: map({(.key): .value}) | add + {};
def with_entries(f): to_entries | map(f) | from_entries;
def paths(f): path_values | if .[1] | f then .[0] else empty end;
def in(xs): . as $key | xs | has($key);
def inside(xs): . as $part | xs | contains($part);
def index($part): indices($part)[0];
def rindex($part): indices($part)[-1];
def @json: tojson;

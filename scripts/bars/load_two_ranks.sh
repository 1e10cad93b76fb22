# SPDX-License-Identifier: Apache-2.0
# Read by the bars about loading: rank 0 has the model, rank 1 gets its part over MPI.
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
build_dir=${TROUPE_BUILD_DIR:-$source_dir/build}
programs=$build_dir/tests/mpi
for program in launch_world weight_rank; do
    if [ ! -x "$programs/$program" ]; then
        echo "$programs/$program is not there; build first (ninja -C $build_dir)" >&2
        exit 2
    fi
done
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
if [ $# -gt 0 ]; then
    model=$(cd "$1" && pwd) || exit 2
else
    model=$work/model
    "$source_dir/scripts/make_shape_model" "$model" || exit 2
fi

# load_two_ranks SHARDING: leaves the ranks' lines of figures in $work/figures.
load_two_ranks() {
    mkdir -p "$work/run"
    if ! "$programs/launch_world" 2 "$work/run" "$programs/weight_rank" "$model" "$1" 1,1 0 0 load \
        > "$work/figures"; then
        cat "$work/figures"
        echo "the ranks did not load the model" >&2
        return 1
    fi
}

# figure_of RANK NAME
figure_of() {
    awk -v rank="$1" -v name="$2" '$1 == "rank" && $2 == rank {
        for (i = 3; i < NF; i += 2) if ($i == name) print $(i + 1) }' "$work/figures"
}

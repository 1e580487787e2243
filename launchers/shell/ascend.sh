# shellcheck shell=bash
# The environment that CANN and its TensorFlow adapter need. Sourcing this file only defines functions.

# Sources the scripts that CANN installs. From CANN 8.5 on there is one, in cann/; before, the packages
# ascend-toolkit, nnae and tfplugin have one each; CANN 20.2 and older have none.
set_ascend_environment() {
    local script
    if script=$(ascend_file cann/set_env.sh); then
        source_vendor_script "$script"
    else
        if script=$(ascend_file ascend-toolkit/set_env.sh); then
            source_vendor_script "$script"
        fi
        if script=$(ascend_file nnae/set_env.sh); then
            source_vendor_script "$script"
        fi
        [[ -n ${ASCEND_OPP_PATH:-} ]] || set_environment_of_old_cann
    fi
    if script=$(ascend_file tfplugin/set_env.sh); then
        source_vendor_script "$script"
    fi
    if [[ -n ${TFPLUGIN_INSTALL_PATH:-} ]]; then  # where the user had pip install the adapter of CANN 8.5 or later
        prepend PYTHONPATH "$TFPLUGIN_INSTALL_PATH"
    fi
    export ASCEND_GLOBAL_LOG_LEVEL=${ASCEND_GLOBAL_LOG_LEVEL:-3}  # errors only, as in the launchers of the vendors
}

ascend_file() {  # PATH: prints where it is under the directories that CANN is installed in; status 1 if nowhere
    local root
    for root in /usr/local/Ascend "${HOME:-}/Ascend"; do
        if [[ -e $root/$1 ]]; then
            printf '%s\n' "$root/$1"
            return
        fi
    done
    return 1
}

source_vendor_script() {  # FILE
    set +eu  # the scripts of the vendor read unset variables
    # shellcheck source=/dev/null
    source "$1" >&2
    set -eu
}

# CANN 20.2 and older: the variables that its installation guide has the user export. The packages lie in
# nnae/latest or ascend-toolkit/latest, in the oldest releases in the root itself.
set_environment_of_old_cann() {
    local library cann python directory adapter
    library=$(ascend_file nnae/latest/fwkacllib) || library=$(ascend_file ascend-toolkit/latest/fwkacllib) ||
        library=$(ascend_file fwkacllib) || return 0
    cann=${library%/*}
    python=$library/python/site-packages
    for directory in /usr/local/Ascend/add-ons /usr/local/Ascend/driver/lib64/{driver,common} "$library/lib64"; do
        prepend LD_LIBRARY_PATH "$directory"
    done
    for directory in "$cann/opp/op_impl/built-in/ai_core/tbe" "$python/schedule_search.egg" \
        "$python/auto_tune.egg/auto_tune" "$python/hccl" "$python"; do
        prepend PYTHONPATH "$directory"
    done
    if adapter=$(ascend_file tfplugin/latest/tfplugin/python/site-packages) ||
        adapter=$(ascend_file tfplugin/python/site-packages); then
        prepend PYTHONPATH "$adapter"
    fi
    prepend PATH "$library/bin"
    prepend PATH "$library/ccec_compiler/bin"
    export ASCEND_OPP_PATH=$cann/opp ASCEND_AICPU_PATH=$cann
}

prepend() {  # VARIABLE DIRECTORY
    export "$1=$2${!1:+:${!1}}"
}

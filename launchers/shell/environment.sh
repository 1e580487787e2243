# shellcheck shell=bash
# Keeps the user's settings of other Pythons away from ours. Sourcing this file only defines functions.

# Packages that platforms put on PYTHONPATH for the Python that trains: Ascend's, and ModelArts' moxing.
PLATFORM_PACKAGES=(npu_bridge npu_device hccl te tbe acl moxing)
# pip's settings of the package index; all its other settings are ours.
INDEX_SETTINGS='index-url|extra-index-url|find-links|no-index|trusted-host|proxy|cert|client-cert|retries|timeout'
INDEX_SETTINGS+='|default-timeout'

# PYTHONHOME, PYTHONOPTIMIZE, PYTHONWARNINGS and their kind belong to another Python or break TensorFlow's import.
clean_environment() {
    local name
    for name in "${!PYTHON@}"; do
        case $name in
        PYTHON | PYTHONPATH | PYTHONHASHSEED | PYTHONDONTWRITEBYTECODE) ;;
        *) unset "$name" ;;
        esac
    done
    keep_platform_packages
}

keep_platform_packages() {  # leaves on PYTHONPATH the directories with software of the platform alone
    local directory package kept='' directories
    IFS=: read -ra directories <<<"${PYTHONPATH:-}"
    for directory in "${directories[@]}"; do
        for package in "${PLATFORM_PACKAGES[@]}"; do
            if [[ $directory == */Ascend/* || -n $directory && (-e $directory/$package || -e $directory/$package.py) ]]; then
                kept+=${kept:+:}$directory
                break
            fi
        done
    done
    if [[ -n $kept ]]; then
        export PYTHONPATH=$kept
    else
        unset PYTHONPATH
    fi
}

# pip with no setting of the user but where packages come from.
pip_install() {  # PYTHON ARGUMENT...
    (
        keep_index_settings "$1"
        "$1" -m pip install --no-warn-script-location "${@:2}"
    )
}

keep_index_settings() {  # PYTHON: of its pip
    local settings name line section
    settings=$("$1" -m pip config list 2>/dev/null) || settings=''
    for name in "${!PIP_@}"; do
        line=${name#PIP_}
        line=${line,,}
        [[ ${line//_/-} =~ ^($INDEX_SETTINGS)$ ]] || unset "$name"
    done
    export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_PROGRESS_BAR=off
    for section in install global; do
        while IFS= read -r line; do
            [[ $line =~ ^$section\.($INDEX_SETTINGS)=[\'\"](.*)[\'\"]$ ]] || continue
            name=PIP_${BASH_REMATCH[1]^^}
            name=${name//-/_}
            [[ -n ${!name:-} ]] || export "$name=${BASH_REMATCH[2]//\\n/ }"
        done <<<"$settings"
    done
}

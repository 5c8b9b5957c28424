#!/bin/sh
# Status of a SLURM job: status.sh ID prints running, success or failed. A job that SLURM no longer knows has failed.
case $(scontrol --oneliner show job "$1" 2> /dev/null) in
  *JobState=COMPLETED*) echo success ;;
  *JobState=PENDING* | *JobState=CONFIGURING* | *JobState=RUNNING*) echo running ;;
  *JobState=SUSPENDED* | *JobState=COMPLETING*) echo running ;;
  *) echo failed ;;
esac

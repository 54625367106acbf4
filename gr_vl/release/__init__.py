"""From a trained guard to a folder that other servers take as it is. (`stages.export` publishes verl's checkpoints.)"""
